"""The node: what a GPU provider runs next to a model server. Of the coordinator it imports `protocol` alone."""
