"""Models from elsewhere: workspaces of HistFactory, histograms of the UHI protocol."""
