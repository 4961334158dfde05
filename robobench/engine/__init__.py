"""From a suite to rows: resolve, plan, sweep, and who carries it out."""
