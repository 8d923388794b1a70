"""What this backend makes and reads: runs, feeds, the log writer, the watcher, readers. Knows no HTTP."""
