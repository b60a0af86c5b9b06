"""Real processes over real folders against the real simulator: outcomes, not calls."""
