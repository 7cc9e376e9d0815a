//! Runs each event in an instance of its function: admit, pool, start, wait, reap; the asynchronous queue.
