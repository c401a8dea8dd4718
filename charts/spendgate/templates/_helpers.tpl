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

{{- /* Where a workload's pods may run. root: the chart's scope; of: the workload's values. */ -}}
{{- define "spendgate.pods" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.priorityClassName }}
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

{{- define "spendgate.redis.env" -}}
{{- $external := .Values.redis.external -}}
- name: REDIS_URL
{{- if eq .Values.redis.mode "external" }}
{{- if $external.existingSecret.name }}
  valueFrom:
    secretKeyRef:
      name: {{ $external.existingSecret.name }}
      key: {{ $external.existingSecret.key | default "url" }}
{{- else }}
  value: {{ required "redis.mode is external: give redis.external.url or redis.external.existingSecret.name" $external.url | quote }}
{{- end }}
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

{{- define "spendgate.redis.mount" -}}
{{- if and (eq .Values.redis.mode "external") .Values.redis.external.ca.name -}}
- name: redis-ca
  mountPath: /etc/redis-ca
  readOnly: true
{{- end -}}
{{- end -}}

{{- define "spendgate.redis.volume" -}}
{{- with .Values.redis.external.ca -}}
{{- if and (eq $.Values.redis.mode "external") .name -}}
- name: redis-ca
  secret:
    secretName: {{ .name }}
    items:
      - key: {{ .key | default "ca.crt" }}
        path: ca.crt
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Rules of a network policy that lead to an external Redis. */ -}}
{{- define "spendgate.redis.egress" -}}
{{- if .Values.redis.external.egress -}}
{{ toYaml .Values.redis.external.egress }}
{{- else -}}
- ports:
    - {protocol: TCP, port: 6379}
    - {protocol: TCP, port: 6380}
{{- end -}}
{{- end -}}

{{- /* The settings of the gateways. In a mesh, who asks is in the certificate, unless `identity` says otherwise. */ -}}
{{- define "spendgate.config" -}}
{{- $config := .Values.config -}}
{{- if eq .Values.proxy "istio" -}}
{{- $config = mergeOverwrite (tpl (.Files.Get "files/config-istio.yaml") . | fromYaml) (deepCopy .Values.config) -}}
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
