#!/bin/sh
# The newest version, restarted one backend after the other; back to this one by itself when it does not become healthy.
# upgrade.sh [REF]   (a branch or tag; the upstream of this branch)
# All of it is read before any of it runs: the file itself may change meanwhile.
upgrade() {
    set -eu
    cd "$(dirname "$0")/.."
    command -v git >/dev/null && [ -e .git ] || die "This folder is no git checkout: unpack the new version over it, then make restart"
    [ -z "$(git status --porcelain --untracked-files=no)" ] || die "Files of the project are changed here (git status): git stash, or commit them"
    old=$(git rev-parse HEAD)
    echo "Fetching"
    git fetch -q --tags || die "git fetch failed: is this machine online?"
    wanted=${1:-@{upstream\}}
    # what has been fetched: a branch of this name here is where we are
    new=$(found "refs/tags/$wanted") || new=$(found "refs/remotes/origin/$wanted") || new=$(found "$wanted") ||
        die "There is no ${1:-branch to follow (git branch --set-upstream-to=origin/main)}"
    if [ "$new" = "$old" ]; then
        echo "Nothing new"
        return
    fi
    git merge-base --is-ancestor "$old" "$new" || die "$wanted does not follow from what is here: git merge by hand"
    sh deploy/chat.sh status >/dev/null 2>&1 && runs=yes || runs=
    echo "From $(git describe --always --tags "$old") to $(git describe --always --tags "$new"), $(git rev-list --count "$old..$new") commits"
    git reset -q --keep "$new"
    if sh deploy/chat.sh ${runs:+re}start; then
        echo "Upgraded"
        return
    fi
    echo "It does not become healthy: going back" >&2
    git reset -q --keep "$old"
    [ -z "$runs" ] || sh deploy/chat.sh restart || die "The old version does not come back either: make logs"
    die "Still on $(git describe --always --tags "$old")"
}

found() { git rev-parse -q --verify "$1^{commit}" 2>/dev/null; }
die() { echo "$*" >&2; exit 1; }

upgrade "$@"
exit
