#!/usr/bin/env bash
# A real Apache Kafka broker (KRaft, one node) on 127.0.0.1, as many of them as there are folders.
#
#   scripts/kafka.sh start [--port N] [--dir DIR]   prints 127.0.0.1:PORT; --port 0 takes a free port
#   scripts/kafka.sh stop|wipe|status [--dir DIR]   wipe also removes the broker's data
#   scripts/kafka.sh fetch                          only downloads it, once, into the cache
#
# Topics are not created by themselves. TALLY_KAFKA_HEAP (1g) sets the Java heap. TALLY_KAFKA_SECURE=1 adds a second
# listener with TLS and a password (SASL/PLAIN, user tally, password tally-test or that of TALLY_KAFKA_PASSWORD):
# DIR/secure has its address, DIR/tls/ca.pem the certificate to trust. With TALLY_KAFKA_CERTIFICATE=FILE it presents what
# FILE has instead, PEM: its key and its certificate.
set -euo pipefail
NAME=kafka
# shellcheck source=scripts/server.bash
source "$(dirname "${BASH_SOURCE[0]}")/server.bash"

VERSION=4.1.0
HOME_DIR=$TALLY_CACHE/kafka-$VERSION
LIBS=$HOME_DIR/libs

need() {
  command -v "$1" >/dev/null || die "$1 is missing; install it with: apt-get install -y $2 (or: make setup)"
}

# Downloads Kafka's jars from Maven coordinates. The folder appears whole, or not at all.
fetch() {
  need java default-jre-headless
  if [[ -d $LIBS ]]; then return; fi
  need mvn maven
  mkdir -p "$HOME_DIR"
  exec 9>"$HOME_DIR/lock"
  flock 9
  if [[ ! -d $LIBS ]]; then
    say "fetching Apache Kafka $VERSION (43 MB, once)"
    cat >"$HOME_DIR/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tally</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$VERSION</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
POM
    rm -rf "$LIBS.partial"
    mvn -q -B -Dstyle.color=never -f "$HOME_DIR/pom.xml" \
      org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
      -DincludeScope=runtime -DoutputDirectory="$LIBS.partial" >&2
    mv "$LIBS.partial" "$LIBS"
  fi
  exec 9>&-
}

# A certificate of its own for 127.0.0.1, made once.
make_certificate() {
  need keytool default-jre-headless
  if [[ -f $DIR/tls/ca.pem ]]; then return; fi
  mkdir -p "$DIR/tls"
  keytool -genkeypair -alias kafka -keyalg EC -dname CN=127.0.0.1 -ext san=ip:127.0.0.1 -validity 3650 \
    -storetype PKCS12 -keystore "$DIR/tls/kafka.p12" -storepass tally-test 2>/dev/null
  keytool -exportcert -rfc -alias kafka -keystore "$DIR/tls/kafka.p12" -storepass tally-test \
    >"$DIR/tls/ca.pem" 2>/dev/null
}

# The second listener: also an address of the broker, so it is added to the lists that are there.
add_secure_listener() {
  local port keystore
  # A broker that was stopped comes back at the address that its clients know.
  port=$(sed 's/.*://' "$DIR/secure" 2>/dev/null || free_port)
  if [[ -n ${TALLY_KAFKA_CERTIFICATE:-} ]]; then
    keystore=(ssl.keystore.type=PEM "ssl.keystore.location=$TALLY_KAFKA_CERTIFICATE")
  else
    make_certificate
    keystore=(ssl.keystore.type=PKCS12 "ssl.keystore.location=$DIR/tls/kafka.p12" ssl.keystore.password=tally-test)
  fi
  sed -i -e "s|^listeners=|&SECURE://127.0.0.1:$port,|" -e "s|^advertised.listeners=|&SECURE://127.0.0.1:$port,|" \
    -e "s|^listener.security.protocol.map=|&SECURE:SASL_SSL,|" "$DIR/server.properties"
  cat >>"$DIR/server.properties" <<PROPERTIES
inter.broker.listener.name=PLAINTEXT
$(printf '%s\n' "${keystore[@]}")
listener.name.secure.sasl.enabled.mechanisms=PLAIN
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
  user_tally="${TALLY_KAFKA_PASSWORD:-tally-test}";
PROPERTIES
  echo "127.0.0.1:$port" >"$DIR/secure"
}

# Every replication factor is 1, as there is one node. Sessions may be as short as a second, so that a test
# which kills a consumer does not wait for six. The group coordinator's topic has 4 partitions and not 50: it
# starts faster.
write_properties() {
  local port=$1 controller_port
  controller_port=$(free_port)
  cat >"$DIR/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller_port
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller_port
advertised.listeners=PLAINTEXT://127.0.0.1:$port
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$DIR/data
auto.create.topics.enable=false
message.max.bytes=16777216
replica.fetch.max.bytes=16777216
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
PROPERTIES
}

launch() {
  write_properties "$1"
  if [[ ${TALLY_KAFKA_SECURE:-} == 1 ]]; then add_secure_listener; fi
  if [[ ! -f $DIR/data/meta.properties ]]; then
    # A cluster id is 16 bytes in base64; this one says "tally-kafka-test".
    java -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$LIBS/*" kafka.tools.StorageTool \
      format -t dGFsbHkta2Fma2EtdGVzdA -c "$DIR/server.properties" >"$DIR/format.log" 2>&1 ||
      { cat "$DIR/format.log" >&2; die "could not format $DIR/data"; }
  fi
  nohup setsid java -Xmx"${TALLY_KAFKA_HEAP:-1g}" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
    -Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info \
    -cp "$LIBS/*" kafka.Kafka "$DIR/server.properties" >"$DIR/server.log" 2>&1 </dev/null 9>&- &
  PID=$!
}

ready() { grep -qs 'Kafka Server started' "$DIR/server.log" && port_is_open "$1"; }

server_arguments "$@"
case $VERB in
  fetch) fetch ;;
  start)
    fetch
    server_start 9092 120
    echo "127.0.0.1:$PORT"
    ;;
  stop) server_stop ;;
  wipe) server_wipe ;;
  status) server_status ;;
esac
