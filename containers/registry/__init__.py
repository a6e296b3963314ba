"""Talk to the registry behind the gate, and read its manifests."""
