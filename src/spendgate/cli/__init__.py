"""The command `spendgate`: one module a command, imported only when it is called."""
