"""The usage record of an exchange: the line of the usage log, its writer, its readers and its copies elsewhere."""
