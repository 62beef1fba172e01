"""A package, because one of the same name that a dependency installs would come first otherwise."""
