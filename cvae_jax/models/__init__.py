"""The networks: every module maps one time step, or a batch of them, to one result."""
