"""`make release`: what is published of one version, made and checked without a network and without a daemon."""
