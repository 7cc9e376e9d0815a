//! Native functions: Python, Node, any executable.
