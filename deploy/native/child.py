"""Becomes one part of the stack: `child.py NAME`, with the command and environment that run/parts.json has
now.

The supervisor keeps the environment it was started with, so a part that starts again reads its own.
Imports nothing of ours, for it runs each time that a part starts.
"""

import json
import os
import sys

with open("run/parts.json", encoding="utf-8") as file:
    part = json.load(file)[sys.argv[1]]
os.execve(part["command"][0], part["command"], part["environment"])
