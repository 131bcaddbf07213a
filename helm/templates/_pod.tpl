{{- /* Pod Security "restricted", and a root file system that nobody writes to. */ -}}
{{- define "tally.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "tally.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- /*
The pod of a role. (dict "root" . "role" "ingest" "values" .Values.ingest "args" (list …)); also checks that what a stop
does fits into the grace period. Probes ask what makes progress: /healthz fails where a record of the door, a partition
or the janitor stands for minutes without a word on what it waits for, or a partition has stopped; /readyz where no work
can be taken, and in an aggregator until it processes what the group gave it. The query role only answers: its /healthz
says that it does. A liveness probe waits long: a restart helps against a stuck process, not against a store that is away.
*/ -}}
{{- define "tally.pod" -}}
{{- $root := .root -}}
{{- $values := .values -}}
{{- $name := include "tally.fullname" $root -}}
{{- $settings := default dict (get $root.Values.config .role) -}}
{{- $drain := 0 -}}
{{- if eq .role "ingest" -}}
{{- $drain = div (add (mul 2 (int64 (default 10000 (get $settings "drain_timeout_ms")))) 999) 1000 -}}
{{- else if eq .role "aggregate" -}}
{{- $drain = div (add (int64 (default 4000 (get $settings "drain_timeout_ms"))) 999) 1000 -}}
{{- else if eq .role "query" -}}
{{- $drain = div (add (int64 (default 60000 (get $settings "timeout_ms"))) 999) 1000 -}}
{{- end -}}
{{- $needed := add $drain (int64 $values.preStopSeconds) -}}
{{- if le (int64 $values.terminationGracePeriodSeconds) (int64 $needed) -}}
{{- fail (printf "%s.terminationGracePeriodSeconds must be more than %d: preStopSeconds and the time that %s takes to drain" .role $needed .role) -}}
{{- end -}}
metadata:
  labels:
    {{- include "tally.labels" (dict "root" $root "role" .role) | nindent 4 }}
  annotations:
    kubectl.kubernetes.io/default-container: {{ .role }}
    checksum/config: {{ include "tally.toml" $root | cat $root.Values.budgets | sha256sum }}
spec:
  serviceAccountName: {{ $name }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  securityContext:
    {{- include "tally.podSecurity" $root | nindent 4 }}
  topologySpreadConstraints:
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "tally.selector" (dict "root" $root "role" $.role) | nindent 10 }}
    {{- end }}
  containers:
    - name: {{ .role }}
      image: {{ include "tally.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: {{ concat .args (list "--config" "/etc/tally/config/tally.toml" "--log-format" "json") | toJson }}
      env:
        {{- include "tally.env" (dict "root" $root "role" .role) | nindent 8 }}
      ports:
        - { name: https, containerPort: 8080 }
        {{- if eq .role "query" }}
        - { name: postgresql, containerPort: 5433 }
        - { name: flight, containerPort: 8815 }
        {{- end }}
      startupProbe:
        httpGet: { path: /healthz, port: https, scheme: HTTPS }
        periodSeconds: 2
        failureThreshold: 75
      readinessProbe:
        httpGet: { path: /readyz, port: https, scheme: HTTPS }
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      livenessProbe:
        httpGet: { path: /healthz, port: https, scheme: HTTPS }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 12
      lifecycle:
        preStop: { sleep: { seconds: {{ $values.preStopSeconds }} } }
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        {{- include "tally.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        - { name: config, mountPath: /etc/tally/config, readOnly: true }
        - { name: users, mountPath: /etc/tally/users, readOnly: true }
        - { name: certificate, mountPath: /etc/tally/certificate, readOnly: true }
        {{- if and $root.Values.log.caSecret (ne .role "query") }}
        - { name: kafka-ca, mountPath: /etc/tally/kafka-ca, readOnly: true }
        {{- end }}
        {{- if $root.Values.trustedCaSecret }}
        - { name: trusted-ca, mountPath: /etc/tally/trusted-ca, readOnly: true }
        {{- end }}
        {{- if eq .role "query" }}
        - { name: spill, mountPath: /tmp }
        {{- end }}
  volumes:
    - name: config
      configMap: { name: {{ $name }}-config, defaultMode: 0444 }
    - name: users
      secret: { secretName: {{ required "access.usersSecret is required: listeners beyond loopback need users" $root.Values.access.usersSecret }}, defaultMode: 0440 }
    - name: certificate
      secret: { secretName: {{ required "access.certificateSecret is required: listeners beyond loopback need a certificate" $root.Values.access.certificateSecret }}, defaultMode: 0440 }
    {{- if and $root.Values.log.caSecret (ne .role "query") }}
    - name: kafka-ca
      secret: { secretName: {{ $root.Values.log.caSecret }}, defaultMode: 0444 }
    {{- end }}
    {{- with $root.Values.trustedCaSecret }}
    - name: trusted-ca
      secret: { secretName: {{ . }}, defaultMode: 0444 }
    {{- end }}
    {{- if eq .role "query" }}
    - name: spill
      emptyDir: { sizeLimit: {{ $values.spillSize }} }
    {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
