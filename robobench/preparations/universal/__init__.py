"""One perturbation for every image: learned on a split of its own, judged on another."""
