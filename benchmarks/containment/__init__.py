"""How good detection and containment are: real arrivals, planted thefts, hard negatives, in money and trust."""
