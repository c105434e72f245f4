"""One fleet deployed as several stacks: their making, their runs side by side, and the moves between them."""
