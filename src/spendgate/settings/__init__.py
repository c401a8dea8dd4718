"""The settings of every process, read once: a YAML file and `SPENDGATE_<KEY>` in the environment, which wins."""
