"""The command line, configuration, run folders and the wiring between the stages."""
