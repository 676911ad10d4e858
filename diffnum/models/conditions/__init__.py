"""What a network is conditioned on: prompts, texts, latents."""
