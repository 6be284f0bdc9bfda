#!/bin/bash
# Makes the certificates that hubs know each other by, until `updraft cert` does.
#
#   certificates.sh authority DIR
#       the authority of all hubs: DIR/ca.crt, and DIR/ca.key, which belongs on no hub
#   certificates.sh hub DIR NAME HOST...
#       the certificate of the hub NAME, under every HOST by which its nodes, the hubs below it and
#       browsers call it (names or IP addresses): DIR/NAME.crt and DIR/NAME.key
set -euo pipefail
umask 077
usage() {
    sed -n 's/^#   \(.\)/\1/p' "$0" >&2
    exit 2
}

authority() {
    mkdir -p "$1"
    if [ -e "$1/ca.key" ]; then
        echo "$1/ca.key is there already; another authority would not be known to the hubs" >&2
        exit 1
    fi
    openssl ecparam -genkey -name prime256v1 | openssl pkcs8 -topk8 -nocrypt -out "$1/ca.key"
    openssl req -x509 -new -key "$1/ca.key" -sha256 -days 7300 -subj "/CN=Updraft hubs" \
        -addext basicConstraints=critical,CA:TRUE,pathlen:0 \
        -addext keyUsage=critical,keyCertSign,cRLSign -out "$1/ca.crt"
}

hub() {
    local directory=$1 name=$2 names=()
    shift 2
    for host in "$@"; do
        if [[ $host =~ ^[0-9.]+$ || $host == *:* ]]; then
            names+=("IP:$host")
        else
            names+=("DNS:$host")
        fi
    done
    openssl ecparam -genkey -name prime256v1 |
        openssl pkcs8 -topk8 -nocrypt -out "$directory/$name.key"
    # Every node is a server for others and a client of them.
    openssl x509 -req -sha256 -days 825 -out "$directory/$name.crt" \
        -in <(openssl req -new -key "$directory/$name.key" -subj "/CN=$name") \
        -CA "$directory/ca.crt" -CAkey "$directory/ca.key" -set_serial "0x$(openssl rand -hex 16)" \
        -extfile <(
            echo "basicConstraints=critical,CA:FALSE"
            echo "keyUsage=critical,digitalSignature"
            echo "extendedKeyUsage=serverAuth,clientAuth"
            echo "subjectAltName=$(IFS=,; echo "${names[*]}")"
        )
}

case "${1-}" in
authority) [ $# -eq 2 ] || usage; authority "$2" ;;
hub) [ $# -ge 4 ] || usage; hub "${@:2}" ;;
*) usage ;;
esac
