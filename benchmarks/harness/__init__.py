"""What the benchmarks share: peers, workers, statistics, tables, bars and plots."""
