"""A black-box attacker of a team without money: what it sends, how it sends it, and a provider that bills all it can
read."""
