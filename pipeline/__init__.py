"""The person at the controls: configuration, commands, run directories, tables."""
