"""How a parser is judged: from probabilities to a parse (the protocol), and from parses to F-scores."""
