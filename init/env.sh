# Sets what ezha's commands and OpenHA's tools look for: `. /usr/local/cluster/env.sh` in sh, bash, dash, zsh.
# EZ, where it is set already, names another installation.

EZ=${EZ:-/usr/local/cluster}
EZ_BIN=$EZ/bin
EZ_CONF=$EZ/conf
EZ_NODES=$EZ_CONF/nodes
EZ_MONITOR=$EZ_CONF/monitor
EZ_SERVICES=$EZ_CONF/services
EZ_VAR=$EZ
EZ_LOG=$EZ/log
export EZ EZ_BIN EZ_CONF EZ_NODES EZ_MONITOR EZ_SERVICES EZ_VAR EZ_LOG

alias ez_svc_status='"$EZ_BIN"/service -s'
alias ez_hb_status='"$EZ_BIN"/hb -s'
alias ez_ps='"$EZ_BIN"/ezha ps'
