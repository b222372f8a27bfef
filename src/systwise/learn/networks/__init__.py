"""Networks with their scaler inside, and what is saved of them."""
