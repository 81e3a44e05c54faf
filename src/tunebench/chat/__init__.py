"""The chat: reviews and questions for finished runs, answered in the browser. Never loads torch."""
