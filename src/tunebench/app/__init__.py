"""The studio: pages over the same jobs and run directories as the command line. Never loads torch."""
