"""The web page and the Slack commands: what teams, SREs and finance look at and ask by."""
