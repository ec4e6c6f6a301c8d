"""Files of requests, fed into the log a window at a time, and their results."""
