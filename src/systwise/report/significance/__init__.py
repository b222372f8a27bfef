"""How well hypotheses are told from a reference: rows, sentences and figures."""
