{{- /* The tally.toml of all roles. What differs by role, and every secret, comes by the environment. */ -}}
{{- define "tally.toml" -}}
{{- $own := dict -}}
{{- $_ := set $own "log" (dict
      "kafka" (required "log.kafka is required: the bootstrap servers of Kafka" .Values.log.kafka)
      "topic" .Values.log.topic "partitions" .Values.log.partitions "replication" .Values.log.replication
      "group" .Values.log.group) -}}
{{- $_ := set $own "store" (dict "url" (required "store.url is required: s3://BUCKET/PREFIX" .Values.store.url)) -}}
{{- $_ := set $own "auth" (dict "users_file" "/etc/tally/users/users.toml") -}}
{{- $_ := set $own "tls" (dict "certificate" "/etc/tally/certificate/tls.crt" "key" "/etc/tally/certificate/tls.key") -}}
{{- $_ := set $own "http" (dict "listen" (printf "%s:8080" .Values.listenAddress)) -}}
{{- $_ := set $own "query" (dict "pg_listen" (printf "%s:5433" .Values.listenAddress) "flight_listen" (printf "%s:8815" .Values.listenAddress)) -}}
{{- with .Values.traces.endpoint -}}
{{- $_ := set $own "traces" (dict "otlp_endpoint" . "one_in" $.Values.traces.oneIn) -}}
{{- end -}}
{{- if .Values.budgets -}}
{{- $_ := set $own "budgets" (dict "file" "/etc/tally/config/budgets.toml") -}}
{{- end -}}
{{- range $section, $settings := .Values.config -}}
{{- if eq $section "alerts" -}}
{{- if hasKey $settings "webhooks" -}}
{{- fail "config.alerts.webhooks has secrets in it: put them into a Secret and name it in alerts.webhooksSecret" -}}
{{- end -}}
{{- end -}}
{{- range $key, $_ := $settings -}}
{{- if hasKey (default dict (get $own $section)) $key -}}
{{- fail (printf "config.%s.%s is set by the chart: use the value for it" $section $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $section, $settings := mergeOverwrite (deepCopy .Values.config) $own }}
[{{ $section }}]
{{- range $key, $value := $settings }}
{{ $key }} = {{ include "tally.tomlValue" $value }}
{{- end }}
{{ end }}
{{- $options := deepCopy .Values.log.options -}}
{{- if .Values.log.caSecret -}}
{{- $_ := set $options "ssl.ca.location" "/etc/tally/kafka-ca/ca.crt" -}}
{{- end -}}
{{- if $options }}
[log.kafka_options]
{{- range $key, $value := $options }}
{{ $key | quote }} = {{ toString $value | toJson }}
{{- end }}
{{ end }}
{{- end -}}

{{- /* YAML knows one kind of number; settings are whole ones. */ -}}
{{- define "tally.tomlValue" -}}
{{- if kindIs "float64" . -}}{{ printf "%.0f" . }}{{- else -}}{{ toJson . }}{{- end -}}
{{- end -}}

{{- /* What a role must be told by the environment. (dict "root" . "role" "ingest") */ -}}
{{- define "tally.env" -}}
{{- $values := .root.Values -}}
{{- $stream := has .role (list "aggregate" "janitor") -}}
- { name: RUST_LOG, value: {{ $values.logLevel | quote }} }
- name: POD_NAME
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
- name: POD_IP
  valueFrom: { fieldRef: { fieldPath: status.podIP } }
- name: NAMESPACE
  valueFrom: { fieldRef: { fieldPath: metadata.namespace } }
{{- if and $values.log.credentialsSecret (ne .role "query") }}
- name: TALLY_LOG__KAFKA_OPTIONS__SASL_USERNAME
  valueFrom: { secretKeyRef: { name: {{ $values.log.credentialsSecret }}, key: username } }
- name: TALLY_LOG__KAFKA_OPTIONS__SASL_PASSWORD
  valueFrom: { secretKeyRef: { name: {{ $values.log.credentialsSecret }}, key: password } }
{{- end }}
{{- if ne .role "ingest" }}
{{- $secret := ternary (required "store.credentialsSecret is required" $values.store.credentialsSecret) (required "store.queryCredentialsSecret is required: the query role has credentials of its own" $values.store.queryCredentialsSecret) $stream }}
- name: AWS_ACCESS_KEY_ID
  valueFrom: { secretKeyRef: { name: {{ $secret }}, key: AWS_ACCESS_KEY_ID } }
- name: AWS_SECRET_ACCESS_KEY
  valueFrom: { secretKeyRef: { name: {{ $secret }}, key: AWS_SECRET_ACCESS_KEY } }
- { name: AWS_REGION, value: {{ $values.store.region | quote }} }
{{- with $values.store.endpoint }}
- { name: AWS_ENDPOINT_URL, value: {{ . | quote }} }
{{- end }}
{{- if $values.store.allowHttp }}
- { name: AWS_ALLOW_HTTP, value: "true" }
{{- end }}
{{- end }}
{{- if $values.trustedCaSecret }}
- { name: SSL_CERT_FILE, value: /etc/tally/trusted-ca/ca.crt }
{{- end }}
{{- if eq .role "aggregate" }}
{{- $named := eq $values.aggregate.kind "StatefulSet" }}
{{- $byName := printf "https://$(POD_NAME).%s-aggregate-pods.$(NAMESPACE).svc:8080" (include "tally.fullname" .root) }}
- { name: TALLY_HTTP__ADVERTISE, value: {{ default (ternary $byName "https://$(POD_IP):8080" $named) $values.aggregate.advertise | quote }} }
{{- if $named }}
- { name: TALLY_LOG__KAFKA_OPTIONS__GROUP_INSTANCE_ID, value: $(POD_NAME) }
{{- end }}
{{- with $values.alerts.webhooksSecret }}
- name: TALLY_ALERTS__WEBHOOKS
  valueFrom: { secretKeyRef: { name: {{ . }}, key: webhooks } }
{{- end }}
{{- if $values.janitor.enabled }}
- { name: TALLY_AGGREGATE__JANITOR_INTERVAL_MS, value: "0" }
{{- end }}
{{- end }}
{{- end -}}
