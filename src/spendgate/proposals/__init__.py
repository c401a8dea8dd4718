"""Budget changes by people without access to the cluster: an edit of the policy, as a branch and pull request."""
