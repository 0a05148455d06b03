# escape=\
FROM a
RUN b \
  c
# d
COPY <<E /f
g
E
LABEL h="i"
