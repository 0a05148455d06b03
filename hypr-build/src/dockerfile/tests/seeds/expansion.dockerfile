ARG A=${B:-${C:+d}}
FROM ${A%%:*}:${A##*:}
ENV X=$A${B}c\$D "Y"="${E/f/g}${H//i/j}" Z='$k'
COPY $X/${Y?message} "${Z:?other}" /
WORKDIR ${A#*/}
LABEL a=${A-b} c=${A+d} e=$1$@$$
