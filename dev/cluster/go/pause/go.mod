module argus/cluster/pause

go 1.26.0
