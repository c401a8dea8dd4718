{{- define "spendgate.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ printf "%s@%s" .repository .digest | quote }}
{{- else -}}
{{ printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) | quote }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "spendgate.redis.image" -}}
{{- with .Values.redis.image -}}
{{ printf "%s%s%s" .repository (ternary (printf ":%s" .tag) "" (ne .tag "")) (ternary (printf "@%s" .digest) "" (ne .digest "")) | quote }}
{{- end -}}
{{- end -}}

{{- /* Where a workload's pods may run. root: the chart's scope; of: the workload's values; important: it has the chart's priority class. */ -}}
{{- define "spendgate.pods" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.priorityClassName | default (ternary "spendgate" "" (and .important .root.Values.priorityClass.create)) }}
priorityClassName: {{ . }}
{{- end }}
{{- with .of.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Whether the URL of Redis is in a Secret. */ -}}
{{- define "spendgate.redis.secret" -}}
{{- if and .Values.redis.secured (ne .Values.redis.mode "standalone") -}}
{{- fail "redis.secured is for redis.mode standalone: sentinels have no TLS here" -}}
{{- end -}}
{{- if or .Values.redis.secured (and (eq .Values.redis.mode "external") (not .Values.redis.url)) -}}
true
{{- end -}}
{{- end -}}

{{- define "spendgate.redis.env" -}}
- name: REDIS_URL
{{- if include "spendgate.redis.secret" . }}
  valueFrom:
    secretKeyRef:
      name: {{ .Values.redis.urlSecret }}
      key: url
{{- else if eq .Values.redis.mode "external" }}
  value: {{ .Values.redis.url | quote }}
{{- else if eq .Values.redis.mode "sentinel" }}
{{- $hosts := list }}
{{- range $i := until 3 }}
{{- $hosts = append $hosts (printf "redis-%d.redis.%s.svc.%s:26379" $i $.Release.Namespace $.Values.clusterDomain) }}
{{- end }}
  value: redis+sentinel://{{ join "," $hosts }}/ledger
{{- else }}
  value: redis://redis-master.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:6379
{{- end }}
{{- end -}}

{{- /* Whether the CA of Redis is mounted. */ -}}
{{- define "spendgate.redis.ca" -}}
{{- if and .Values.redis.caSecret (or .Values.redis.secured (eq .Values.redis.mode "external")) -}}
true
{{- end -}}
{{- end -}}

{{- define "spendgate.redis.mount" -}}
{{- if include "spendgate.redis.ca" . -}}
- name: redis-ca
  mountPath: /etc/redis-ca
  readOnly: true
{{- end -}}
{{- end -}}

{{- define "spendgate.redis.volume" -}}
{{- if include "spendgate.redis.ca" . -}}
- name: redis-ca
  secret:
    secretName: {{ .Values.redis.caSecret }}
    optional: true
    items:
      - key: ca.crt
        path: ca.crt
    defaultMode: 0444
{{- end -}}
{{- end -}}

{{- /* The settings of the gateways. In a mesh, who asks is in the certificate, unless `identity` says otherwise. */ -}}
{{- define "spendgate.config" -}}
{{- $yours := or (eq .Values.proxy "none") (and (eq .Values.proxy "envoy") (ne .Values.envoy.bootstrap "")) -}}
{{- range $setting := ternary (list "message_timeout" "upstreams" "identity") (list "message_timeout") (eq .Values.proxy "envoy") -}}
{{- if and (hasKey $.Values.config $setting) (not $yours) -}}
{{- fail (printf "config.%s is a setting that Envoy must know, too: %s" $setting (ternary "give as envoy.bootstrap what `spendgate render bootstrap --config FILE` prints" "take proxy: none, and apply what `spendgate render` prints" (eq $.Values.proxy "envoy"))) -}}
{{- end -}}
{{- end -}}
{{- $config := .Values.config -}}
{{- if eq .Values.proxy "istio" -}}
{{- $config = mergeOverwrite (tpl (.Files.Get (printf "files/config-%s.yaml" (ternary "front-door" "istio" .Values.istio.frontDoor.enabled))) . | fromYaml) (deepCopy .Values.config) -}}
{{- end -}}
{{ toYaml $config }}
{{- end -}}

{{- define "spendgate.envoy.config" -}}
{{- if .Values.envoy.bootstrap -}}
{{ .Values.envoy.bootstrap }}
{{- else -}}
{{ tpl (.Files.Get (printf "files/envoy-%s.yaml" .Values.mtls)) . }}
{{- end -}}
{{- end -}}

{{- /* The volume with a workload's certificate. root: the chart's scope; secret: of cert-manager. */ -}}
{{- define "spendgate.certificate" -}}
- name: certificate
{{- if eq .root.Values.mtls "spire" }}
  csi:
    driver: csi.spiffe.io
    readOnly: true
{{- else }}
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{- define "spendgate.doctor.url" -}}
{{- .Values.doctor.url | default (printf "http://llm.%s.svc.%s" .Release.Namespace .Values.clusterDomain) | quote -}}
{{- end -}}
