"""The parametric stimuli with human data (Geirhos et al., NeurIPS 2018 and 2021), one file per group."""
