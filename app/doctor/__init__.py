"""`python -m app doctor`: what is wrong with this machine or the settings, and what repairs it."""
