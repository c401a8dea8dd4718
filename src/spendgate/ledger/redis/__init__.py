"""The ledger on Redis: connections, one Lua script a verb, what is read beside them."""
