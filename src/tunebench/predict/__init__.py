"""From text to probabilities with numpy and tokenizers; torch is one backend among others."""
