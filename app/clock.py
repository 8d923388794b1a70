"""The times that depend on each other, in one table. All in seconds.

What must hold between them is written beside each and tested (`tests/test_clock.py`).
"""

# Redis: one exchange, one call with its retries, and what the caller of a call waits for
CONNECT_SECONDS = 0.7
SENTINEL_SECONDS = 0.4  # for each Sentinel asked; the one that answered is asked first the next time
ANSWER_SECONDS = 1.0  # one answer, where no exchange bounds it
EXCHANGE_SECONDS = 1.1  # > CONNECT: one round trip, with the wait for a connection and its opening
EXCHANGE_PAUSE_SECONDS = 0.05
CALL_SECONDS = 2.4  # > 2 EXCHANGE + the pause: one call with its retry
REFUSED_SECONDS = 3.0  # > CALL: a start that Redis does not take is refused by then
WRITTEN_LOOK_SECONDS = 0.01
WRITTEN_SECONDS = 2.5  # > the 2 s for which Redis may put off a write: so long an ending waits for it
REPLICA_SECONDS = 0.2  # < EXCHANGE: so long a write that must last waits for a replica

# Leases: who lives
HEARTBEAT_SECONDS = 2.0
LEASE_SECONDS = 9.0  # > HEARTBEAT + 2 CALL: two lost beats are no death
TRUST_SECONDS = 4.0  # >= 2 HEARTBEAT: after Redis was away, this long everybody may beat again
SETTLED_SECONDS = 15.0  # >= LEASE + 2 HEARTBEAT + CALL: the promise for the runs of a lost backend

# Bells: the link that wakes
PING_SECONDS = 2.0
SILENT_SECONDS = 5.0  # > 2 PING: a link without a sign of life is made anew
BELL_RETRY_SECONDS = (0.05, 2.0)

# Stops
TAKEN_SECONDS = 1.5  # a stop that nobody has taken by then means that the backend is lost
HELD_UP_SECONDS = 0.2  # > LOOK: who has waited so much longer than it should knows that times are hard
ENDED_SECONDS = 20.0  # > UNWRITTEN: a run that took its stop while Redis was in trouble
LOOK_SECONDS = 0.1  # between two looks at the record of a run whose bell may be lost

# The line before a model
LINE_SECONDS = 1.0  # < a place's life of 9 s: between two looks at where one stands, each of which renews it

# Persons
APPROVAL_SECONDS = 1.0  # between two looks at whether a person has answered, each of which asks again

# Runs: logged, read, ended
OPENING_SECONDS = 0.003  # the first event waits so long for the first words
LOG_REST_SECONDS = 0.008  # < TROUBLE: between two rounds of the log writer; so late a token may be
TROUBLE_SECONDS = 0.1  # readers wait no longer than this for Redis
PHASE_SECONDS = 0.5  # readers hear no more often how far the model has read
LOG_RETRY_SECONDS = 0.5
END_RETRY_SECONDS = 0.25
NAMING_SECONDS = 60.0  # for a name from the model; nobody waits for it
CALLED_SECONDS = 10.0  # a message that waited has begun: its readers get so long to come, beyond their grace
UNWRITTEN_SECONDS = 15.0  # > CALL: so long a finished reply waits for Redis before its readers are told
READERS_SECONDS = 1.0  # between two looks at who reads on other backends
READER_SECONDS = 15.0  # > SHOWN + CALL: a reader on another backend counts so long
SHOWN_SECONDS = 5.0
FOLLOW_RETRY_SECONDS = 0.5
NEWS_SECONDS = 0.1  # one read for the news of all runs that are followed; a new one waits so long to join
SILENCE_SECONDS = 2.0  # > NEWS: then it is looked up whether a run still goes on
KEPT_SECONDS = 5.0  # the feed of an ended run waits so long for another reader

# Sending: a run id that is just beginning elsewhere, a start that is taken back
SEND_SECONDS = 30.0
UNCLEAR_SECONDS = 2.5  # > CALL: how long a start elsewhere may be on its way
UNCLEAR_LOOK_SECONDS = 0.1
UNDO_SECONDS = 1.0
UNDO_FOR_SECONDS = 200.0
LATE_SECONDS = (3.0, 3.0, 6.0)  # from CALL on, < SETTLED in all: a start that was given up may still arrive

# Streams
STREAM_HEARTBEAT_SECONDS = 15.0
STREAM_STUCK_SECONDS = 30.0  # > STREAM_HEARTBEAT: a reader that takes nothing for so long is cut
HEALTH_SECONDS = 0.8  # < 1 s: health answers within a second whatever Redis does

# Leaving
ENDING_SECONDS = 4.0  # > CALL: for the endings of runs that were cut at the end of the grace
EXIT_SECONDS = 4.0  # >= ENDING: beyond the grace, for the last bytes to leave
