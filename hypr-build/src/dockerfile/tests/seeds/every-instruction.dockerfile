# syntax=docker/dockerfile:1
# escape=\
# check=skip=JSONArgsRecommended
ARG V=1
# base
FROM --platform=$BUILDPLATFORM a:$V AS b
MAINTAINER someone
ENV x=1 y="2 3" z='4\ 5'
ENV old form of it
LABEL "a b"=c d="e \
f"
ARG one two=2 three="3 4"
RUN --mount=type=cache,target=/c,sharing=locked --mount=type=secret,id=s,env=S \
  # c

  a && b
RUN --network=none --security=sandbox --device=v/c=n ["a", "b\n\u00e9"]
COPY --from=b --chown=1:2 --chmod=u+x --link --parents --exclude=*.o a b/ /d/
ADD --checksum=sha256:00 --keep-git-dir=true --unpack=false https://h/x /d
WORKDIR /a b
USER 1:2
EXPOSE 80/tcp 90-91/udp
VOLUME ["/a", "/b c"]
STOPSIGNAL SIGTERM
SHELL ["/bin/sh", "-c"]
HEALTHCHECK --interval=5s --timeout=1m --retries=3 CMD c
HEALTHCHECK NONE
ENTRYPOINT ["e"]
CMD f $x "g"
ONBUILD RUN x \
  y
