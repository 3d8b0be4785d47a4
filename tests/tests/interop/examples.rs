//! The examples in Python, as their pages say to run them.
