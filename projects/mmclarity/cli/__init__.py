"""The command lines of the tools: parsing, checking, running, and one way to end."""
