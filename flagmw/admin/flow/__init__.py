"""Operations as generators, and the two drivers that run them."""
