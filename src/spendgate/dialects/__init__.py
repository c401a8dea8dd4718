"""The wire formats of providers' APIs: what requests ask for, what responses used, how models are rewritten. Pure."""
