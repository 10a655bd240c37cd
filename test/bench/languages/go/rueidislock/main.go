// Measures rueidislock, on the one server whose address is the argument.
package main

import (
	"context"
	"log"
	"os"
	"time"

	"bench/rounds"

	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"
)

func main() {
	locker, err := rueidislock.NewLocker(rueidislock.LockerOption{
		ClientOption:   rueidis.ClientOption{InitAddress: os.Args[1:]},
		KeyValidity:    8 * time.Second,
		KeyMajority:    1,
		NoLoopTracking: true,
		// As long as the others wait for a node.
		TryNextAfter: 400 * time.Millisecond,
	})
	if err != nil {
		log.Fatal(err)
	}
	rounds.Serve([]string{"rueidis"}, func(name string) error {
		_, unlock, err := locker.TryWithContext(context.Background(), name)
		if err == nil {
			unlock()
		}
		return err
	})
}
